"""An independent oracle: plain Python over plain rows, from the specification of permissions and nothing else."""
