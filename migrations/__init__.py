"""The history of the two schemas: `cell` holds health systems, `control` knows where they live."""
