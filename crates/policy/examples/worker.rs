//! The program that the tests of this crate evaluate policies with, as `kubernaut policy-worker` does.

fn main() -> std::io::Result<()> {
    kubernaut_policy::worker::serve()
}
