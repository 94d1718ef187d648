// x tanh(log(1 + exp(x))), as a ratio of polynomials in exp(x).
fn mish(x: F) -> F {
  let growth = exp(min(x, F(20.0)));
  let n = growth * (growth + 2.0);
  return x * (n / (n + 2.0));
}
