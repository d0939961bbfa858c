-- The tables, as a database of the releases' beginnings had them after its migrations 1 to 3, which
-- this one replaces. The functions are files of their own, in functions/.
-- Nothing here alters `enterprises`; it is found by the search_path of the connection, and its
-- columns may be of any type that reads as text.

-- A database owner may have made the schema beforehand, for a user who may not.
DO $$ BEGIN
  IF to_regnamespace('callapi') IS NULL THEN CREATE SCHEMA callapi; END IF;
END $$;

CREATE TABLE callapi.migrations (
  version    integer PRIMARY KEY,
  name       text NOT NULL,
  applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- A call is followed until its end is confirmed.
CREATE TABLE callapi.calls (
  call_id       uuid PRIMARY KEY,
  enterprise    text NOT NULL,
  host          text NOT NULL,
  kind          text NOT NULL CHECK (kind IN ('call', 'monitor')),
  code          text NOT NULL,                 -- the extension that rings first
  phone         text NOT NULL,                 -- whom it is connected with, or the tapped extension
  action        text NOT NULL DEFAULT '',      -- of a monitor: how it listens
  state         text NOT NULL DEFAULT 'placing'
                CHECK (state IN ('placing', 'executed', 'not_executed', 'unknown')),
  root_channel  text,
  root_uniqueid text,
  error_code    text,
  created_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
  settled_at    timestamptz,
  phase         text NOT NULL DEFAULT 'placing' CHECK (phase IN (
    'placing', 'unknown', 'accepted', 'agent_ringing', 'agent_answered', 'customer_ringing',
    'talking', 'ended')),
  reason        text CHECK (reason IN (
    'answered', 'busy', 'no_answer', 'agent_busy', 'agent_no_answer', 'cancelled', 'rejected',
    'failed', 'unknown')),
  candidates    jsonb NOT NULL DEFAULT '[]',   -- roots, one of which is ours
  legs          jsonb NOT NULL DEFAULT '[]',
  agent_ringing_at    timestamptz,
  agent_answered_at   timestamptz,
  customer_ringing_at timestamptz,
  talking_at    timestamptz,
  ended_at      timestamptz,
  cancelled_at  timestamptz,                   -- when the API was asked to hang up
  transferred_to text,
  transferred_at timestamptz,
  disposition   text,                          -- the CDR's own word
  ring_s        integer,
  talk_s        integer,
  -- none: the PBX writes its records at once, and wrote none. off: it writes none at all.
  cdr           text CHECK (cdr IN ('pending', 'confirmed', 'none', 'off', 'unreadable'))
);
CREATE INDEX calls_by_page ON callapi.calls (enterprise, created_at DESC, call_id DESC);
CREATE INDEX calls_followed ON callapi.calls (host) WHERE ended_at IS NULL OR cdr = 'pending';
-- For the calls that came up late: whose is a root, and who else is ringing that extension?
CREATE INDEX calls_of_root ON callapi.calls (host, root_uniqueid) WHERE root_uniqueid IS NOT NULL;
CREATE INDEX calls_of_extension ON callapi.calls (host, code, created_at);

-- `same:...` is the order itself, `key:...` an Idempotency-Key; both lead to the call they claimed.
CREATE TABLE callapi.claims (
  enterprise text NOT NULL,
  key        text NOT NULL,
  call_id    uuid NOT NULL,
  params     text NOT NULL,
  until      timestamptz NOT NULL,
  PRIMARY KEY (enterprise, key)
) WITH (fillfactor = 70);
CREATE INDEX claims_of_call ON callapi.claims (call_id);

-- GCRA: `tat` is the moment at which the bucket would be full again.
CREATE TABLE callapi.rate_limits (
  key text PRIMARY KEY,
  tat timestamptz NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE callapi.host_keys (
  host      text NOT NULL,
  port      integer NOT NULL,
  key       text NOT NULL,
  pinned_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (host, port)
);

-- What an operator says of an enterprise.
CREATE TABLE callapi.enterprise_rules (
  enterprise text PRIMARY KEY,
  dialling   boolean NOT NULL DEFAULT true,
  allowed    text[],   -- prefixes that may be called; NULL: all
  denied     text[],   -- prefixes that may not, whatever is allowed
  extensions text[]    -- the only ones it may ring and monitor; NULL: nobody said
);

-- Numbered per enterprise by a row that its writer holds until it commits: whoever has read up to a
-- number will find nothing below it later. A phase is told once, so no call ends twice.
CREATE TABLE callapi.event_counters (
  enterprise text PRIMARY KEY,
  seq        bigint NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE callapi.call_events (
  enterprise text NOT NULL,
  seq        bigint NOT NULL,
  call_id    uuid NOT NULL,
  phase      text NOT NULL,
  reason     text,
  at         timestamptz NOT NULL,
  PRIMARY KEY (enterprise, seq)
);
CREATE UNIQUE INDEX call_events_once ON callapi.call_events (call_id, phase);

-- Who follows a host, by a lease: a session lock would be held by a frozen process. The fence grows
-- when the lease passes to another owner, and only the holder of the fence may write.
CREATE TABLE callapi.trackers (
  host         text PRIMARY KEY,
  owner        text NOT NULL,
  fence        bigint NOT NULL,
  lease_until  timestamptz NOT NULL
) WITH (fillfactor = 50);

-- All calls of a host, also those that were not started here, while somebody asks for them.
CREATE TABLE callapi.host_views (
  host         text PRIMARY KEY,
  wanted_until timestamptz NOT NULL,
  taken_at     timestamptz,
  calls        jsonb,
  error_code   text
) WITH (fillfactor = 50);
