//! The example of an application on the simulated disk does what it says.

#[path = "../examples/own_application.rs"]
mod own_application;

use own_application::{Written, main, sweep};

#[test]
fn an_application_that_writes_at_once_keeps_its_promises_at_every_point() {
    let (points, broken) = sweep(Written::AtOnce);
    assert_eq!(broken, None);
    assert!(points > 40, "{points} points are hardly a run");
}

#[test]
fn one_that_writes_bit_by_bit_is_found_out() {
    let (_, broken) = sweep(Written::BitByBit);
    let broken = broken.expect("a crash between two puts parts them");
    assert!(broken.contains("its transfers say"), "{broken}");
    main(); // and the example tells so
}
