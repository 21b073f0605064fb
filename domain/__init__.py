"""What a clinic's world is made of: records, questions and commands, one file a subject."""
