-- Take the lease of a host, or keep it: the fence, NULL while somebody else holds it.
CREATE OR REPLACE FUNCTION callapi.take_lease(p_host text, p_owner text, p_lease_s float8)
RETURNS bigint LANGUAGE sql
SET search_path = pg_catalog, pg_temp AS $f$
  INSERT INTO callapi.trackers AS t
  VALUES (p_host, p_owner, 1, clock_timestamp() + make_interval(secs => p_lease_s))
  ON CONFLICT (host) DO UPDATE
    SET owner = EXCLUDED.owner, lease_until = EXCLUDED.lease_until,
        fence = t.fence + (t.owner <> EXCLUDED.owner)::integer,
        place_since = CASE WHEN t.owner = EXCLUDED.owner THEN t.place_since END
    WHERE t.owner = EXCLUDED.owner OR t.lease_until <= clock_timestamp()
  RETURNING t.fence
$f$;
