-- Hear of a connection: it may be silent for p_silent_s again. {"enterprise", "host", "wanted", "wait_s"}, of
-- which the last is over 0 where the enterprise's limit p_limit, {"name", "count", "per_s"}, refuses it; NULL:
-- there is none of that name, or not any more, or the right by which it was opened has ended. Whoever says
-- more than 240 things a minute floods what others come by, and has ended: who pushes closes it.
CREATE OR REPLACE FUNCTION callapi.keep_connection(p_id text, p_silent_s float8, p_limit jsonb)
RETURNS jsonb LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $f$
DECLARE c callapi.push_connections; v_host text; v_wait_s float8;
BEGIN
  PERFORM set_config('synchronous_commit', 'off', true);
  SELECT x.* INTO c FROM callapi.push_connections x
   WHERE x.id = p_id AND x.until > clock_timestamp();
  IF NOT FOUND THEN RETURN NULL; END IF;
  v_host := callapi.host_of(c.enterprise, c.secret_digest);
  IF v_host IS NULL THEN RETURN NULL; END IF;
  IF (SELECT t.wait_s FROM callapi.take_token('said:' || p_id, 240, 60) t) > 0 THEN
    UPDATE callapi.push_connections x SET until = clock_timestamp() WHERE x.id = p_id;
    RETURN NULL;
  END IF;
  SELECT t.wait_s INTO v_wait_s FROM callapi.take_token((p_limit->>'name') || ':' || c.enterprise,
    (p_limit->>'count')::integer, (p_limit->>'per_s')::float8) t;
  IF v_wait_s = 0 THEN
    UPDATE callapi.push_connections x
       SET until = least(x.ends_at, clock_timestamp() + make_interval(secs => p_silent_s))
     WHERE x.id = p_id;
  END IF;
  RETURN jsonb_build_object(
    'enterprise', c.enterprise, 'host', v_host, 'wanted', c.wanted, 'wait_s', v_wait_s);
END $f$;
