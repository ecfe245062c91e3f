// A page of HTML in memory: text that grows, what comes from outside escaped, the head with its style sheet.
#ifndef TALLY_EXPERIMENTS_PAGE_H
#define TALLY_EXPERIMENTS_PAGE_H

#include "src/base.h"

struct page {
    char *text; // ends in a zero byte once something was added
    size_t length, room;
};

void page_free(struct page *p);

void page_put(struct page *p, const char *bytes, size_t length);            // as it is
void page_add(struct page *p, const char *format, ...) PRINTF_LIKE(2, 3);   // markup of ours and numbers
void page_text(struct page *p, const char *text);                           // from outside: escaped for HTML
void page_base64(struct page *p, const unsigned char *bytes, size_t count); // without line breaks

// The document up to <main>, and its end. The page is also well-formed XML.
void page_begin(struct page *p, const char *title);
void page_end(struct page *p);

#endif
