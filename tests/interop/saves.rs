//! What kv saves, and when.

use crate::server::{Program, Server};

/// The data at the end counts, also while older data is still on its way to the disk.
#[test]
fn a_save_at_the_end_waits_for_one_under_way() {
    let mut server = Server::primary(Program::Kv, &[]);
    let mut client = server.client();
    let value = "x".repeat(1000);
    for batch in 0..100 {
        let mut mset = redis::cmd("MSET");
        for key in 0..500 {
            mset.arg(format!("{batch}:{key}")).arg(&value);
        }
        mset.exec(&mut client).expect("the write is taken");
    }
    redis::cmd("BGSAVE").exec(&mut client).expect("it begins");
    redis::cmd("SET").arg("written").arg("last").exec(&mut client).expect("the write is taken");
    server.shut_down();
    server.restart();
    let mut client = server.client();
    let value: Option<String> =
        redis::cmd("GET").arg("written").query(&mut client).expect("reads are answered");
    let count: u64 = redis::cmd("DBSIZE").query(&mut client).expect("reads are answered");
    assert_eq!((value.as_deref(), count), (Some("last"), 50_001));
}
