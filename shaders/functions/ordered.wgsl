// Whether neither of two floats is NaN: no comparison holds otherwise, which compilers may turn round.
fn ordered(a: F, b: F) -> B {
  return !(is_nan(a) | is_nan(b));
}
