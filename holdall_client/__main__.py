"""`python -m holdall_client` is `holdall`."""

from holdall_client.commands import main

main()
