"""Whether somebody may: Polar policies compiled to role templates, joined with grants and the tree per actor."""
