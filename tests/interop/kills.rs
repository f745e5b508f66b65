//! CLIENT KILL: what is closed, and that replicas come back.

use crate::image::{assert_equal_data, wait_in_step};
use crate::raw::RawClient;
use crate::server::{Program, Server, Syncs};
use crate::wait::wait_until_equal;

mod with_replicas {
    use super::a_killed_replica_comes_back_and_resumes;

    of_both! { with replicas: a_killed_replica_comes_back_and_resumes }
}

of_both! {
    a_client_is_killed_by_its_id_or_its_address,
    a_client_that_waits_can_be_killed,
    a_client_kills_itself_only_if_it_says_so,
}

fn a_killed_replica_comes_back_and_resumes(program: Program) {
    let primary = Server::primary(program, &[]);
    let replica = Server::replica_of(primary.port(), &[]);
    let mut client = RawClient::connect(primary.port());
    assert_eq!(client.ask("SET key value"), "+OK");
    wait_in_step(&primary, &replica);

    for resumed in 1..=2 {
        wait_until_equal("killed replicas", ":1".to_owned(), || client.ask("CLIENT KILL TYPE replica"));
        assert_eq!(client.ask("INCR counter"), format!(":{resumed}"));
        let expected = Syncs { full: 1, resumed, refused: 0 };
        wait_until_equal("resumed stream", expected, || primary.info().syncs());
    }
    assert_eq!(assert_equal_data(&primary, &replica), 2);
}

fn a_client_is_killed_by_its_id_or_its_address(program: Program) {
    let primary = Server::primary(program, &[]);
    let mut admin = RawClient::connect(primary.port());
    for (option, field) in [("ID ", "id"), ("ADDR ", "addr"), ("", "addr")] {
        let mut victim = RawClient::connect(primary.port());
        assert_eq!(victim.ask("CLIENT SETNAME victim"), "+OK");
        let line = listed(&mut admin).into_iter().find(|line| line.contains("name=victim "));
        let line = line.expect("the victim is listed");
        let value = line.split(' ').find_map(|pair| pair.strip_prefix(field)?.strip_prefix('='));
        let value = value.expect("it has every field");
        let killed = if option.is_empty() { "+OK" } else { ":1" };
        assert_eq!(admin.ask(&format!("CLIENT KILL {option}{value}")), killed);
        assert_eq!(victim.rest().as_deref(), Some(""), "{option}");
        let killed = if option.is_empty() { "-ERR No such client" } else { ":0" };
        assert_eq!(admin.ask(&format!("CLIENT KILL {option}{value}")), killed);
    }
}

fn a_client_that_waits_can_be_killed(program: Program) {
    let primary = Server::primary(program, &[]);
    let mut client = RawClient::connect(primary.port());
    let id = client.ask("CLIENT ID")[1..].to_owned();
    client.send("WAIT 1 0\r\n");
    wait_until_equal("blocked clients", 1, || primary.info().number("blocked_clients"));
    let mut admin = RawClient::connect(primary.port());
    assert_eq!(admin.ask(&format!("CLIENT KILL ID {id}")), ":1");
    assert_eq!(client.rest().as_deref(), Some(""));
    assert_eq!(primary.info().number("blocked_clients"), 0);
}

fn a_client_kills_itself_only_if_it_says_so(program: Program) {
    let primary = Server::primary(program, &[]);
    let mut client = RawClient::connect(primary.port());
    let id = client.ask("CLIENT ID")[1..].to_owned();
    assert_eq!(client.ask(&format!("CLIENT KILL ID {id}")), ":0");
    assert_eq!(client.ask(&format!("CLIENT KILL ID {id} TYPE pubsub SKIPME no")), ":0");
    assert_eq!(client.ask(&format!("CLIENT KILL ID {id} TYPE normal SKIPME no")), ":1");
    assert_eq!(client.rest().as_deref(), Some(""));
}

/// The lines of CLIENT LIST.
fn listed(client: &mut RawClient) -> Vec<String> {
    let header = client.ask("CLIENT LIST");
    let length = header.strip_prefix('$').and_then(|length| length.parse().ok());
    let text = client.bytes(length.unwrap_or_else(|| panic!("no list but {header}")));
    client.bytes(2);
    String::from_utf8_lossy(&text).lines().map(str::to_owned).collect()
}
