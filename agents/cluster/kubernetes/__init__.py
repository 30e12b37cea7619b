"""How the cluster agent speaks to a Kubernetes API: nothing outside this package and its launcher imports the client library.

`client` makes single calls, each with a deadline and typed errors; `watch` keeps one kind of object up to date from the
API's own changes and says when it no longer can; `nodes` reports the cluster's nodes where no node agent sits on them.
"""
