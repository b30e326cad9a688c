/* Among pages that match a search alike, how-to pages come first, then the guide; a page whose title is the query wins. */
var Scorer = {
  score: ([page, title, anchor, description, score]) => {
    const query = new URLSearchParams(window.location.search).get("q") || "";
    if (title.toLowerCase() === query.trim().toLowerCase()) return score + 100;
    return score + (page.startsWith("howto/") ? 5 : page.startsWith("guide/") ? 3 : 0);
  },
  objNameMatch: 11, // from here on, Sphinx's own values
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
