//! Role changes of kv, next to peers that a test plays.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::player::{Asked, ID, Primary, key, send, wait_for_line};
use crate::raw::RawClient;
use crate::server::{Program, Server};
use crate::wait::wait_until_equal;

/// A replica that says it listens where `primary` does, and has acknowledged all there is: its link, and that end.
fn attach(server: &Server, primary: &Primary) -> RawClient {
    let mut replica = RawClient::connect(server.port());
    assert_eq!(replica.ask(&format!("REPLCONF listening-port {}", primary.port())), "+OK");
    let answer = replica.ask("PSYNC ? -1");
    let end = answer.rsplit(' ').next().expect("split gives something").to_owned();
    replica.snapshot();
    replica.send(format!("REPLCONF ACK {end}\r\n"));
    replica
}

/// R237: whoever has answered leads, whatever becomes of the link. A second leader would take writes that are lost.
#[test]
fn who_has_handed_over_does_not_lead_again_when_the_link_breaks() {
    for answer in [
        format!("+CONTINUE {ID}\r\n-ERR no stream\r\n"),
        format!("+FULLRESYNC {ID} 7\r\n$100\r\nhalf"),
        format!("+FULLRESYNC {ID} 7\r\n-ERR no snapshot\r\n"),
    ] {
        let server = Server::primary(Program::Kv, &["--repl-ping-replica-period", "3600"]);
        let successor = Primary::start();
        let _replica = attach(&server, &successor);
        redis::cmd("FAILOVER").exec(&mut server.client()).expect("it begins");
        let Asked { mut stream, wanted } = successor.asked();
        assert_eq!(wanted[2..], ["FAILOVER"]);
        send(&mut stream, answer.as_bytes());
        drop(stream);
        wait_for_line(&server, "is closed at offset");
        assert_eq!(server.info().text("role"), "slave", "{answer}");
        assert_eq!(successor.asked().wanted.len(), 2, "{answer}");
    }
}

/// T72: what has expired meanwhile is gone for all before anything is made of it.
#[test]
fn who_is_promoted_first_tells_what_has_expired() {
    let primary = Primary::start();
    let server = Server::follower(Program::Kv, primary.port(), &["--repl-ping-replica-period", "3600"]);
    let mut link = primary.sync();
    let expires_at = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_millis() + 50;
    let set = format!("*5\r\n$3\r\nSET\r\n$3\r\nkey\r\n$1\r\n5\r\n$4\r\nPXAT\r\n$13\r\n{expires_at}\r\n");
    send(&mut link, set.as_bytes());
    let end = 100 + set.len();
    wait_until_equal("offset", end as u64, || server.info().number("slave_repl_offset"));
    wait_until_equal("expiry", None, || key(&server));

    let mut client = RawClient::connect(server.port());
    client.send("REPLICAOF NO ONE\r\nINCR key\r\n");
    assert_eq!([client.line(), client.line()], ["+OK", ":1"]);
    let mut replica = RawClient::connect(server.port());
    let answer = replica.ask(&format!("PSYNC {ID} {}", end + 1));
    assert!(answer.starts_with("+CONTINUE"), "{answer}");
    let mut words = std::iter::from_fn(|| Some(replica.line())).filter(|line| !line.starts_with(['*', '$']));
    let words: Vec<String> = words.by_ref().take_while(|word| word != "INCR").collect();
    assert_eq!(words[..2], ["DEL", "key"]);
}

/// R30, R231: until the replica has answered nobody knows who leads.
#[test]
fn no_other_role_is_taken_while_a_replica_is_asked_to_take_over() {
    let server = Server::primary(Program::Kv, &["--repl-ping-replica-period", "3600"]);
    let successor = Primary::start();
    let _replica = attach(&server, &successor);
    let mut client = RawClient::connect(server.port());
    assert_eq!(client.ask("FAILOVER"), "+OK");
    let _asked = successor.asked();
    assert_eq!(client.ask("REPLICAOF NO ONE"), "-ERR REPLICAOF not allowed while failing over.");
    assert_eq!(client.ask("FAILOVER"), "-ERR FAILOVER already in progress.");
    assert_eq!(client.ask("FAILOVER ABORT"), "+OK");
    assert_eq!(client.ask("SET key 1"), "+OK");
}

/// R29.
#[test]
fn a_primary_is_the_same_however_its_name_is_spelt() {
    let server = Server::primary(Program::Kv, &[]);
    let mut client = RawClient::connect(server.port());
    assert_eq!(client.ask("REPLICAOF localhost 1"), "+OK");
    assert_eq!(client.ask("REPLICAOF LocalHost 1"), "+OK Already connected to specified master");
}

/// R168.
#[test]
fn who_follows_has_no_replicas_to_wait_for() {
    let server = Server::primary(Program::Kv, &[]);
    let mut client = RawClient::connect(server.port());
    assert_eq!(client.ask("REPLICAOF localhost 1"), "+OK");
    for (command, name) in [("WAIT 0 1", "WAIT"), ("WAITAOF 0 0 1", "WAITAOF")] {
        let refused = format!("-ERR {name} cannot be used with replica instances.");
        let answer = client.ask(command);
        assert!(answer.starts_with(&refused), "{command}: {answer}");
    }
}

/// R233: where keys expire all the time no replica would ever have everything.
#[test]
fn nothing_expires_into_the_stream_while_a_replica_is_to_have_all_of_it() {
    let server = Server::primary(Program::Kv, &["--repl-ping-replica-period", "3600"]);
    let successor = Primary::start();
    let _replica = attach(&server, &successor);
    let mut client = RawClient::connect(server.port());
    assert_eq!(client.ask("SET key 5 PX 500"), "+OK"); // which the replica does not acknowledge
    let end = server.info().number("master_repl_offset");
    assert_eq!(client.ask("FAILOVER"), "+OK");
    wait_until_equal("expiry", None, || key(&server));
    assert_eq!(server.info().number("master_repl_offset"), end);
    client.send("FAILOVER ABORT\r\nINCR key\r\n");
    assert_eq!([client.line(), client.line()], ["+OK", ":1"]);
    let told = server.info().number("master_repl_offset") - end;
    assert_eq!(
        told,
        [["*2\r\n$3\r\nDEL\r\n$3\r\nkey\r\n"], ["*2\r\n$4\r\nINCR\r\n$3\r\nkey\r\n"]].concat().concat().len()
            as u64
    );
}

/// R47, R50: whoever is refused would lead again, beside this node.
#[test]
fn a_request_to_take_over_that_is_refused_changes_nothing() {
    let primary = Primary::start();
    let server = Server::follower(Program::Kv, primary.port(), &[]);
    let _link = primary.sync();
    wait_until_equal("offset", 100, || server.info().number("slave_repl_offset"));
    let mut client = RawClient::connect(server.port());
    client.send(format!("PING\r\nPSYNC {ID} 101 FAILOVER\r\n"));
    assert_eq!([client.line(), client.line()].map(|line| line[..4].to_owned()), ["+PON", "-ERR"]);
    assert_eq!(server.info().text("role"), "slave");
    let answer = client.ask(&format!("PSYNC {ID} 101 FAILOVER"));
    assert!(answer.starts_with("+CONTINUE"), "{answer}");
    assert_eq!(server.info().text("role"), "master");
}
