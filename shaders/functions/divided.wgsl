// a / b as IEEE 754 rounds it. GPUs divide within 2.5 units in the last place, and a rounding behind it (a quantization)
// would make a whole step of that; what the quotient leaves of a, which fma gives exactly, corrects it. NVIDIA's compiler
// folds a - (a / b) * b into 0 where it can see that this is it: params.first is never below 0, which no compiler knows.
fn divided(a: F, b: F) -> F {
  let q = a / b;
  let seen = bitcast<F>(bitcast<U>(q) | U(u32(min(params.first, 0))));
  let corrected = q + fma(-seen, b, a) / b;
  // with infinities and zeros the residue is no number, and the quotient stands
  return select(corrected, q, is_inf(corrected) | is_nan(corrected));
}
