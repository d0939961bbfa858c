-- Whether a call on a PBX is one that this service placed: `ours`; `held`: that cannot be told yet, since
-- the root of one is not known that rings the same extension; NULL: it began elsewhere. A root that is
-- listed tells whose the call is (p_root_extension); of one that is gone, or was never seen, any of the
-- extensions may be ours. So long as the command of an unknown outcome may yet be executed, it may be it.
CREATE OR REPLACE FUNCTION callapi.may_be_ours(
  p_hosts text[], p_root text, p_root_extension text, p_extensions text[], p_age_s float8)
RETURNS text LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $f$
  SELECT CASE
    WHEN EXISTS (SELECT 1 FROM callapi.calls c
                  WHERE c.host = ANY (p_hosts) AND c.root_uniqueid = p_root) THEN 'ours'
    WHEN EXISTS (
      SELECT 1 FROM callapi.calls c
       WHERE c.host = ANY (p_hosts) AND c.root_uniqueid IS NULL AND c.state <> 'not_executed'
         AND c.code = ANY (CASE WHEN p_root_extension IS NULL THEN p_extensions
                                ELSE ARRAY[p_root_extension] END)
         AND c.created_at > clock_timestamp() - interval '1 day'
         AND (c.ended_at IS NULL OR c.created_at > clock_timestamp() - interval '20 minutes')
         AND c.created_at <= clock_timestamp() - make_interval(secs => p_age_s - 5)
         AND (c.state <> 'executed' OR c.settled_at >=
                clock_timestamp() - make_interval(secs => p_age_s + 5))) THEN 'held'
    END
$f$;
