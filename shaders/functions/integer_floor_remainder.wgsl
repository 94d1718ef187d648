// The remainder of a / b with the sign of b; 0 where b is 0.
fn integer_floor_remainder(a: I, b: I) -> I {
  let rest = integer_remainder(a, b);
  return select(rest, rest + b, (rest != I(0)) & ((rest < I(0)) != (b < I(0))));
}
