"""Who somebody is: realms, tokens, sessions, and the actor that a proof stands for."""
