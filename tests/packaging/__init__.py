"""What is shipped around the code: set-up, packaging, the written documents, the import rules."""
