-- A webhook as its sender knows it; ages are in seconds, secrets in hexadecimal. `ready`: its next event
-- may be sent now, if there is one.
CREATE OR REPLACE FUNCTION callapi.webhook_to_send(w callapi.webhooks) RETURNS jsonb
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $f$
  SELECT jsonb_build_object(
    'id', w.id, 'enterprise', w.enterprise, 'url', w.url, 'wanted', w.wanted, 'slow', w.slow,
    'secrets', CASE WHEN w.previous_until > clock_timestamp()
                    THEN jsonb_build_array(encode(w.secret, 'hex'), encode(w.previous, 'hex'))
                    ELSE jsonb_build_array(encode(w.secret, 'hex')) END,
    'after', w.after_seq, 'test', w.test, 'attempts', w.attempts, 'failures', w.failures,
    'failed_s', extract(epoch FROM clock_timestamp() - w.failed_at),
    'failing_s', extract(epoch FROM clock_timestamp() - w.failing_since),
    'ready', w.disabled_at IS NULL AND w.absent_since IS NULL AND w.due_at <= clock_timestamp())
$f$;
