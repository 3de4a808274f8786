-- Times are microseconds since 1970. A delivery is `waiting` behind an earlier one of its subject,
-- `ready` when it is the earliest, then `delivered` or `dead`.
create table events (
  position integer primary key autoincrement,
  id text not null unique,
  source text not null,
  type text not null,
  subject text not null,
  time integer not null,
  sequence integer not null,
  request text not null,
  namespace text not null,
  kind text not null,
  name text not null,
  uid text not null,
  data text not null
);
create index events_by_request on events (request, time);
create index events_by_time on events (time);

-- A delivery may exist before its sink is registered: no reference.
create table sinks (
  key text primary key,
  delivered integer not null default 0,
  last_success integer
) without rowid;

create table deliveries (
  sink text not null,
  event integer not null references events (position) on delete cascade,
  subject text not null,
  state text not null check (state in ('waiting', 'ready', 'delivered', 'dead')),
  attempts integer not null default 0,
  not_before integer not null default 0,
  error text,
  primary key (sink, event)
) without rowid;
create index deliveries_by_event on deliveries (event);
create index deliveries_ready on deliveries (sink, not_before, event) where state = 'ready';
create index deliveries_pending on deliveries (sink, subject, event) where state in ('waiting', 'ready');
create index deliveries_dead on deliveries (sink, event) where state = 'dead';
