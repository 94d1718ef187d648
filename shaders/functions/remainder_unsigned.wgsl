// The remainder of a / b; 0 where b is 0.
fn remainder_unsigned(a: U, b: U) -> U {
  return select(a - quotient_unsigned(a, b) * b, U(0u), b == U(0u));
}
