-- On AWS fewer hosts are followed at once than executions are there: each of them has a place, and this
-- says since when. NULL: a process follows the host, which needs none.
ALTER TABLE callapi.trackers ADD COLUMN place_since timestamptz;
