// what a click or a key on a class or point tells, and where the focus is after the piece was drawn anew
let last = null;
const told = at => { last = `[data-k="${at.dataset.k}"]`; trigger('click', {k: +at.dataset.k, kind: +(at.dataset.kind || 0)}); };
element.addEventListener('click', e => { const at = e.target.closest('[data-k]'); if (at) told(at); });
element.addEventListener('keydown', e => {
  const at = e.target.closest('g[data-k]'); if (!at) return;
  if (e.key === 'Enter' || e.key === ' ') { e.preventDefault(); told(at); return; }
  const step = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[e.key]; if (!step) return;
  e.preventDefault();
  const all = [...element.querySelectorAll('g[data-k]')], next = all[(all.indexOf(at) + step + all.length) % all.length];
  at.tabIndex = -1; next.tabIndex = 0; next.focus();
});
watch('value', () => { if (last) element.querySelector(last)?.focus(); });
