//! Role changes of kv, next to peers that a test plays.

use crate::bad_primary::{Asked, ID, Primary, send, wait_for_line};
use crate::raw::RawClient;
use crate::server::{Program, Server};

/// A replica that says it listens where `primary` does, and has acknowledged all there is: its link, and that end.
fn attach(server: &Server, primary: &Primary) -> (RawClient, String) {
    let mut replica = RawClient::connect(server.port());
    assert_eq!(replica.ask(&format!("REPLCONF listening-port {}", primary.port())), "+OK");
    let answer = replica.ask("PSYNC ? -1");
    let end = answer.rsplit(' ').next().expect("split gives something").to_owned();
    replica.snapshot();
    replica.send(format!("REPLCONF ACK {end}\r\n"));
    (replica, end)
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
        let (_replica, _) = attach(&server, &successor);
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
