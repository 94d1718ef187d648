// a / b rounded down; 0 where b is 0, which ONNX leaves open.
fn quotient_unsigned(a: U, b: U) -> U {
  return select(a / select(b, U(1u), b == U(0u)), U(0u), b == U(0u));
}
