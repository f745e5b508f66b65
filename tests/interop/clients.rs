use std::thread;

use crate::server::{Program, Server};

/// More clients than the store takes in at once, each with more commands under way than one read brings.
#[test]
fn many_clients_at_once_get_every_reply() {
    let primary = Server::primary(Program::Kv, &[]);
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let mut connection = primary.client();
            scope.spawn(move || {
                let value = "x".repeat(200);
                for round in 0..ROUNDS {
                    let mut pipeline = redis::pipe();
                    for number in 0..DEPTH {
                        pipeline.cmd("SET").arg(format!("key:{client}:{round}:{number}")).arg(&value);
                    }
                    let replies: Vec<String> =
                        pipeline.query(&mut connection).expect("every command is answered");
                    assert_eq!(replies, vec!["OK"; DEPTH]);
                }
            });
        }
    });
    let keys: usize = redis::cmd("DBSIZE").query(&mut primary.client()).expect("DBSIZE is answered");
    assert_eq!(keys, CLIENTS * ROUNDS * DEPTH);
}

const CLIENTS: usize = 300;
const ROUNDS: usize = 5;
const DEPTH: usize = 100;
