"""One router per noun. A handler opens one transaction in its caller's scope, does its work there and answers a contract model."""
