element.addEventListener('click', async e => {
  const at = e.target.closest('[data-copy]'); if (!at) return;
  await navigator.clipboard.writeText(at.closest('.code').querySelector('code').textContent);
  at.textContent = 'Copied';
});
