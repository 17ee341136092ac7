select pg_logical_emit_message(true,'foo','abc');
select pg_logical_emit_message(true,'bar','no');
select pg_logical_emit_message(false,'foobar','\x00ff'::bytea);
select pg_logical_emit_message(true,'foo','');
