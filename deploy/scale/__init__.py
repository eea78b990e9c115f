"""A whole deployment on one machine: PostgreSQL, SeaweedFS, several Holdalls, nginx in front.

`make scale` runs it, and `make scale-soak` uses and disturbs it. docs/scaling.md says which piece
is which on real hosts. It is for trying and measuring, and no place to keep files in.
"""
