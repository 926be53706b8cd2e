-- From 1.0 to 1.1: what has been changed in the install script since 1.0,
-- for databases that have 1.0. test/t/102_upgrade.pl compares both.
\echo Use "ALTER EXTENSION deletion_guard UPDATE" to load this file. \quit
