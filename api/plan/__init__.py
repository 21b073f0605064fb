"""The engine: a GraphQL selection and the actor's policy become one SQL statement that returns finished JSON."""
