-- Hosts that somebody should follow and nobody does.
CREATE OR REPLACE FUNCTION callapi.untracked_hosts() RETURNS TABLE (host text) LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $f$
  SELECT w.host FROM (
    SELECT c.host FROM callapi.calls c WHERE c.ended_at IS NULL OR c.cdr = 'pending'
    UNION SELECT v.host FROM callapi.host_views v WHERE v.wanted_until > clock_timestamp()
    -- One that has run out, too: its end is to be told.
    UNION SELECT x.host FROM callapi.watches x) w
   WHERE NOT EXISTS (SELECT 1 FROM callapi.trackers t
                      WHERE t.host = w.host AND t.lease_until > clock_timestamp())
$f$;
