"""The platform's own small API, for its operators: a process, a schema, issuers and a database role of its own."""
