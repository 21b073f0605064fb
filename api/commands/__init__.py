"""Commands of `caretree`, one module each: its name is the command's, `app` (typer) or `command` (a function) is it."""
