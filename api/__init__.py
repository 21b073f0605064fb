"""The outside of the product: GraphQL over HTTP and the command line."""
