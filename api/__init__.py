"""The city's door: the HTTP API, the `suanwang` command and the embedded city they are put together in.

Enter at `app.create_app(City)`: one router per noun under `routers/`, each request one transaction in the store, opened with the
scope of whoever holds the bearer token. `cli.main` is the command; `cli.embedded` starts a whole city on one machine.
"""
