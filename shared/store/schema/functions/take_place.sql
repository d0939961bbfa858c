-- As callapi.take_lease, for a function, which needs one of p_most places too: 0 where none is free, as
-- fences begin at 1.
CREATE OR REPLACE FUNCTION callapi.take_place(
  p_host text, p_owner text, p_lease_s float8, p_most integer)
RETURNS bigint LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $f$
DECLARE v_fence bigint;
BEGIN
  -- Two at once would both find the last one free. No other lock is held by whoever waits here.
  PERFORM pg_advisory_xact_lock(1634956645, 1);
  IF (SELECT count(*) FROM callapi.trackers t
       WHERE t.place_since IS NOT NULL AND t.lease_until > clock_timestamp()
         AND t.host <> p_host) >= p_most THEN
    RETURN 0;
  END IF;
  v_fence := callapi.take_lease(p_host, p_owner, p_lease_s);
  UPDATE callapi.trackers t SET place_since = coalesce(t.place_since, clock_timestamp())
   WHERE t.host = p_host AND t.owner = p_owner;
  RETURN v_fence;
END $f$;
