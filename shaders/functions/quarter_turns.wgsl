// x less the nearest multiple of pi/2, which is taken off in three parts (Cody and Waite): exact to |x| of some 10^4, and
// never more than pi/4, whatever x. NaN where x has no place on the circle.
fn quarter_turns(x: F) -> F {
  let turns = round(x * 0.6366197723675814);
  let first = fma(turns, F(-1.5703125), x);
  let second = fma(turns, F(-4.837512969970703e-4), first);
  let angle = clamp(fma(turns, F(-7.549789954e-8), second), F(-0.7854), F(0.7854));
  return select(angle, quiet_nan(), is_inf(x) | is_nan(x));
}
