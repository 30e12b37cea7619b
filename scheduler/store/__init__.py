"""What survives: the SQL system of record, and the live inventory in Redis that may be lost at any moment.

Enter at `database.Database(url)`: `with db.write(scope) as session` is one transaction, and the scope it is opened with limits
every query in it to one tenant's (or one cluster's) rows. `tables` has the schema, `migrations` its history (`migrate.migrate`
applies it), `live.Live` what node agents last reported.
"""
