"""Migrations of the database schema. A released migration never changes.

`tests/test_store_migrations.py` checks that the migrations produce the schema in `service.store.tables`.
"""
