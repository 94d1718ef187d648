// The remainder of a / b with the sign of a; 0 where b is 0.
fn integer_remainder(a: I, b: I) -> I {
  return select(a - quotient(a, b) * b, I(0), b == I(0));
}
