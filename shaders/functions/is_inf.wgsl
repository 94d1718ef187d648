// Whether x is infinite, by its bits: compilers may take for granted that no float is.
fn is_inf(x: F) -> B {
  return (bitcast<U>(x) & U(0x7fffffffu)) == U(0x7f800000u);
}
