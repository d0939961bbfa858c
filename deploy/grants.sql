-- What the service may do in the database, and no more. Run it as whoever owns schema callapi, after
-- each ./asterisk.sh migrate; running it again changes nothing:
--
--     psql -d calls -v service=calls_service -f deploy/grants.sql
--
-- The role is made where it is not there; give it a password by \password. It may not migrate, nor set
-- rules and keys, nor change a pinned host key: those commands are run as the owner.
\set ON_ERROR_STOP on
BEGIN;
SET LOCAL search_path = pg_catalog, pg_temp;
SELECT format('CREATE ROLE %I LOGIN', :'service')
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'service') \gexec

-- Anything that it had before, here and on the user's table.
REVOKE ALL ON ALL TABLES IN SCHEMA callapi FROM :"service";
REVOKE ALL ON SCHEMA callapi FROM :"service";
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA callapi FROM PUBLIC;
GRANT USAGE ON SCHEMA callapi TO :"service";
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA callapi TO :"service";
SELECT format('GRANT %s ON callapi.%I TO %I', array_to_string(privileges, ', '), relation, :'service')
  FROM callapi.rights() WHERE privileges <> '{}' \gexec

-- Of `enterprises` the five columns that are read, where it is.
SELECT callapi.enterprises_at() AS enterprises,
       format('%I', n.nspname) AS enterprises_schema
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.oid = callapi.enterprises_at()::regclass \gset
REVOKE ALL ON :enterprises FROM :"service";
GRANT USAGE ON SCHEMA :enterprises_schema TO :"service";
GRANT SELECT (number, name, ip, secret, active) ON :enterprises TO :"service";

-- What each session of the role has from its log-in. One that rests for 300 s is ended: it is a frozen
-- function's, or of a version before, and the service opens another one without being asked. The rest is what
-- the service sets itself, unless POSTGRES_SESSION=role. PostgreSQL before 14 ends no session so.
SELECT format('ALTER ROLE %I SET %s', :'service', setting)
  FROM (VALUES (140000, 'idle_session_timeout = ''300s'''), (0, 'statement_timeout = ''4500ms'''),
               (0, 'search_path = pg_catalog, pg_temp')) AS s (since, setting)
 WHERE current_setting('server_version_num')::integer >= since
   AND (SELECT rolsuper OR rolcreaterole FROM pg_roles WHERE rolname = current_user) \gexec
COMMIT;
