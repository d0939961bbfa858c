-- What the service does with each table of ours, and so may: deploy/grants.sql grants it, `check` and
-- GET /ready name what is missing. Everything else is its operator's: rules, keys, which host key is
-- the right one, and the schema itself.
CREATE OR REPLACE FUNCTION callapi.rights() RETURNS TABLE (relation text, privileges text[])
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp AS $f$
  VALUES
    ('migrations',       ARRAY['SELECT']),
    ('functions',        ARRAY['SELECT']),
    ('enterprise_rules', ARRAY['SELECT']),
    ('cursor_key',       ARRAY['SELECT']),
    ('keys',             ARRAY['SELECT']),
    ('sandboxes',        ARRAY['SELECT']),
    ('host_keys',        ARRAY['SELECT', 'INSERT']),
    ('call_events',      ARRAY['SELECT', 'INSERT', 'DELETE']),
    ('event_counters',   ARRAY['SELECT', 'INSERT', 'UPDATE']),
    ('calls',            ARRAY['SELECT', 'INSERT', 'UPDATE']),
    ('audit',            ARRAY['SELECT']),
    ('trackers',         ARRAY['SELECT', 'INSERT', 'UPDATE']),
    ('claims',           ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']),
    ('rate_limits',      ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']),
    ('tickets',          ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']),
    ('waits',            ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']),
    ('broken_hosts',     ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']),
    ('hosts',            ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']),
    ('host_views',       ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']),
    ('watches',          ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']),
    ('pbx_calls',        ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']),
    ('host_states',      ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']),
    ('host_reach',       ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']),
    ('notices',          ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']),
    ('webhooks',         ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']),
    ('webhook_deliveries', ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']),
    ('webhook_sender',   ARRAY['SELECT', 'INSERT', 'UPDATE']),
    ('push_connections', ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']),
    ('push_places',      ARRAY['SELECT', 'INSERT', 'UPDATE'])
$f$;
