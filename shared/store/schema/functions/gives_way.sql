-- Whether who has a place is to leave it to a host that waits: whoever has had one for longest goes
-- first, no more of them than wait, and nobody before p_held_s.
CREATE OR REPLACE FUNCTION callapi.gives_way(
  p_host text, p_owner text, p_most integer, p_held_s float8)
RETURNS boolean LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $f$
  SELECT EXISTS (
    SELECT 1 FROM (
      SELECT t.host, t.owner, t.place_since, count(*) OVER () AS taken,
             row_number() OVER (ORDER BY t.place_since, t.host) AS turn
        FROM callapi.trackers t
       WHERE t.place_since IS NOT NULL AND t.lease_until > clock_timestamp()) p
     WHERE p.host = p_host AND p.owner = p_owner
       AND p.place_since <= clock_timestamp() - make_interval(secs => p_held_s)
       AND p.turn <= (SELECT count(*) FROM callapi.untracked_hosts())
                     - greatest(p_most - p.taken, 0))
$f$;
