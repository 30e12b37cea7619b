"""What people take away: the journal as FOCUS files, statements as pages and sheets, claims as packs."""
