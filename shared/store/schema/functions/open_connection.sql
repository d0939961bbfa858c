-- Let a connection be told what happens from now on: false, the enterprise has p_most. It is to be heard of
-- within p_silent_s seconds, and lasts no longer than p_lasts_s. The same again, as after a lost reply, is
-- the same.
CREATE OR REPLACE FUNCTION callapi.open_connection(
  p_id text, p_enterprise text, p_digest bytea, p_wanted jsonb, p_silent_s float8, p_lasts_s float8,
  p_most integer)
RETURNS boolean LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $f$
DECLARE v_now timestamptz := clock_timestamp(); v_open bigint;
BEGIN
  -- A connection that a crash forgets is silent, and opened again: nobody waits for the disk.
  PERFORM set_config('synchronous_commit', 'off', true);
  PERFORM pg_advisory_xact_lock(hashtextextended('callapi.push ' || p_enterprise, 0));
  SELECT count(*) INTO v_open FROM callapi.push_connections c
   WHERE c.enterprise = p_enterprise AND c.id <> p_id AND c.until > v_now;
  IF v_open >= p_most THEN RETURN false; END IF;
  -- Nobody else is there who could miss what was told before.
  INSERT INTO callapi.push_places AS p
  VALUES (p_enterprise, coalesce(
    (SELECT n.seq FROM callapi.event_counters n WHERE n.enterprise = p_enterprise), 0))
  ON CONFLICT (enterprise) DO UPDATE SET seq = EXCLUDED.seq WHERE v_open = 0;
  INSERT INTO callapi.push_connections
  VALUES (p_id, p_enterprise, p_digest, p_wanted, v_now + make_interval(secs => p_silent_s),
          v_now + make_interval(secs => p_lasts_s))
  ON CONFLICT (id) DO NOTHING;
  RETURN true;
END $f$;
