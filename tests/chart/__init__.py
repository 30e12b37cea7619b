"""The chart as an operator meets it: linted, rendered, held against Kubernetes's own schemas, against the product it deploys."""
