// a / b as IEEE 754 rounds it. GPUs divide within 2.5 units in the last place, and a rounding behind it (a quantization)
// would make a whole step of that; what the quotient leaves of a, which fma gives exactly, corrects it. NVIDIA's compiler
// makes one quotient of both again, unless it cannot know the first: params.first is never below 0, which no compiler sees.
fn divided(a: F, b: F) -> F {
  let q = bitcast<F>(bitcast<U>(a / b) | U(u32(min(params.first, 0))));
  let corrected = q + fma(-q, b, a) / b;
  // with infinities and zeros the residue is no number, and the quotient stands
  return select(corrected, q, is_inf(corrected) | is_nan(corrected));
}
